"""Where documents sleep: the implementations of `seams.store.DocumentStore`."""
