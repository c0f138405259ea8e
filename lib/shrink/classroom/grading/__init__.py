"""How exercises stand: notebooks run and checked, and graded without trusting them."""
