"""What a person has, brought to numbers: word vectors from elsewhere and from the texts themselves."""
