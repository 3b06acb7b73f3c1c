package main

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"strings"
	"time"

	"github.com/structseal/structseal"
)

// Nobody in it exists.
//
//go:embed customers.csv
var customersCSV string

func readCSV() ([]Customer, error) {
	r := csv.NewReader(strings.NewReader(customersCSV))
	r.FieldsPerRecord = 7
	lines, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("customers.csv: %w", err)
	}
	var customers []Customer
	for _, f := range lines[1:] {
		born, err := time.Parse(time.DateOnly, f[5])
		if err != nil {
			return nil, fmt.Errorf("customers.csv, customer %s: %w", f[0], err)
		}
		customers = append(customers, Customer{
			ID: f[0], Country: f[1], Name: f[2], Email: f[3], Phone: f[4], Born: structseal.Of(born), Notes: f[6],
		})
	}
	return customers, nil
}
