"""What makes a report hold up later: hashes of the clip, and pictures that harm nobody."""
