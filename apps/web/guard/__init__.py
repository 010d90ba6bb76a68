"""What stands between the network and the pages: which requests are answered, and how much each may take."""
