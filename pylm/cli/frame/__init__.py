"""What the commands are made of; nothing is imported here, for `starting` comes before click is loaded."""
