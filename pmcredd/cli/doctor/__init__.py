"""`pmcred doctor`: what a token needs, looked at: edges that look, pure judges of what they saw, and a report."""
