"""What a class finds out together: handed in as small files, gathered as figures."""
