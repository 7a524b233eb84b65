"""The seed job (text -> one number, a bidirectional LSTM) as a user of each tool would write it."""
