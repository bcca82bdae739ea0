"""Import measurements that were made without this program: files that CodeCarbon wrote."""
