"""What the extractive reader knows of English: words, sentences, questions and the spans that answer them."""
