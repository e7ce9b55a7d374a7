"""How bytes become typed rows: values, drift, rejected rows, corrections."""
