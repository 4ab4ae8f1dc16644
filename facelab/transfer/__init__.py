"""What several networks know together."""
