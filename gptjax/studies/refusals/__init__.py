"""Rule-based rewards as GPT-4 uses them: right refusals, and wrong ones, before and after PPO."""
