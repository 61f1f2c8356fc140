"""Against money laundering: the network of payments, and what investigators need once a batch is published."""
