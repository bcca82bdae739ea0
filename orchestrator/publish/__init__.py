"""A data set goes out, with card, metadata and checksums; other people's CodeCarbon measurements come in."""
