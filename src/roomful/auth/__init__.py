"""Who a client is: tokens and keys."""
