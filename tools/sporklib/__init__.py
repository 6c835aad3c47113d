"""What tools/spork and the tests share: images, machines, and the conversation with their init."""
