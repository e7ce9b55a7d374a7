"""Plans: what the declarations of this working tree would change in the deployment, and how that is done."""
