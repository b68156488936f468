"""Training pairs with exact dense truth, made on the training device."""
