"""The models of the app: chosen, loaded, and asked for answers."""
