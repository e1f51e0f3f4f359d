"""OpenMed NER: biomedical named-entity recognition with domain-adapted encoders and LoRA."""
