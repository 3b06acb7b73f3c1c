CREATE TABLE IF NOT EXISTS "structseal_rings" (
	name     text COLLATE "C" PRIMARY KEY,
	revision bigint NOT NULL CHECK (revision > 0),
	data     bytea NOT NULL
);
