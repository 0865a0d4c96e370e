"""What is done with a trained model: another form of its files, and a model hub."""
