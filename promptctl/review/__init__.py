"""Review: a page on this machine where a person says what photos show, and the file that keeps every answer."""
