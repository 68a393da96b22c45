"""The registry of published SIDs: who has which SID, for as long as a generation lasts."""
