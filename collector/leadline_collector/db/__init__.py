"""Database engine, transactions, tables, schema and administration."""
