"""The explorers of each chapter, one file a chapter, named as the chapter is."""
