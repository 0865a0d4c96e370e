"""The frozen sentence encoders, one file each; `reward.encoder` chooses among them."""
