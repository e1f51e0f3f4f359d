"""Domain-adaptive pretraining: masked language modelling on text with adapters on a frozen base."""
