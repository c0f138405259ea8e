"""Chapter 09, Tickets."""
