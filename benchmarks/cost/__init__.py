"""What a model of a given size costs: times, FLOPs and bytes, measured or computed."""
