"""What comes in: drops from the inbox, response data from Campaign, the store of suppressions."""
