"""The roof: configuration, wiring, the application object, the command line."""
