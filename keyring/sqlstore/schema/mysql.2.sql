CREATE TABLE IF NOT EXISTS `structseal_subjects` (
	ring     VARBINARY(100) NOT NULL,
	subject  BINARY(32) NOT NULL,
	revision BIGINT NOT NULL,
	data     MEDIUMBLOB NOT NULL,
	PRIMARY KEY (ring, subject)
) ENGINE = InnoDB;
