"""PPO, GRPO and RLOO as a kind of run with a loop of its own."""
