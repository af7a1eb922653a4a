"""Tables and regions that others made: read by what they hold, and doubted."""
