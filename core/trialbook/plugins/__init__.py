"""Finding plugins, keeping their faults apart, and making their components."""
