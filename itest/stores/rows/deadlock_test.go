package rows

import (
	"errors"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
)

// deadlock reports whether a database has ended a transaction to let another one go on.
func deadlock(err error) bool {
	var pg *pgconn.PgError
	var my *mysql.MySQLError
	return errors.As(err, &pg) && (pg.Code == "40P01" || pg.Code == "40001") || errors.As(err, &my) && (my.Number == 1213 || my.Number == 1205)
}
