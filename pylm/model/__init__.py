"""Models: in torch (`pylm.model.torch`), and their tensors' names here and in Hugging Face's layouts (`names`)."""
