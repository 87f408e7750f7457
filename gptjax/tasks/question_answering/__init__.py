"""The kind of run `question_answering`: BERT finds the answer to a question in a passage."""
