"""How results show themselves: pictures, and cards in notebooks."""
