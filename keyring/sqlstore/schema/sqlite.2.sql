CREATE TABLE IF NOT EXISTS "structseal_subjects" (
	ring     TEXT COLLATE BINARY NOT NULL,
	subject  BLOB NOT NULL CHECK (typeof(subject) = 'blob' AND length(subject) = 32),
	revision INTEGER NOT NULL CHECK (typeof(revision) = 'integer' AND revision > 0),
	data     BLOB NOT NULL CHECK (typeof(data) = 'blob'),
	PRIMARY KEY (ring, subject)
) WITHOUT ROWID;
