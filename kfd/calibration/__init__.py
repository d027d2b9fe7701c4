"""From logits to scores, likelihood ratios, thresholds and known error rates."""
