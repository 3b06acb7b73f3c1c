CREATE TABLE IF NOT EXISTS "structseal_rings" (
	name     TEXT COLLATE BINARY NOT NULL PRIMARY KEY,
	revision INTEGER NOT NULL CHECK (typeof(revision) = 'integer' AND revision > 0),
	data     BLOB NOT NULL CHECK (typeof(data) = 'blob')
);
