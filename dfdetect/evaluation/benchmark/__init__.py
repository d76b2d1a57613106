"""Tables, figures and a page from scored runs; paired tests between them."""
