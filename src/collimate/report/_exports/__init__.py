"""What leaves a run folder for other tools: its metrics, its figures, its model card."""
