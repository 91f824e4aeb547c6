"""A trained model learns from examples: instructions, chats, labels."""
