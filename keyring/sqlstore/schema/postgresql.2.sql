CREATE TABLE IF NOT EXISTS "structseal_subjects" (
	ring     text COLLATE "C" NOT NULL,
	subject  bytea NOT NULL CHECK (octet_length(subject) = 32),
	revision bigint NOT NULL CHECK (revision > 0),
	data     bytea NOT NULL,
	PRIMARY KEY (ring, subject)
);
