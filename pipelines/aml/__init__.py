"""Anti-money-laundering: what this domain needs beyond the steps that every model has."""
