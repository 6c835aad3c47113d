"""What tools/lab is made of: docs/labs/README.md says what a lab is."""
