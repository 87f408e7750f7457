"""What a report on attention patterns measures and draws."""
