"""What goes out: the upload, the refill, cases, receipts, the CRM's response files, the archive."""
